package attest

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	packageurl "github.com/package-url/packageurl-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// buildSPDX is artifact 2: an SPDX 2.3 document with the same components as
// artifact 1. Licence fields are always written, as NOASSERTION where nothing
// is known: readers take an absent one for an error.
func buildSPDX(in *Input, f *facts, _ *Evidence) (*product, error) {
	const rootID = "Image"
	doc := &spdx.Document{
		SPDXVersion:    spdx.Version,
		DataLicense:    spdx.DataLicense,
		SPDXIdentifier: "DOCUMENT",
		DocumentName:   f.name,
		CreationInfo: &spdx.CreationInfo{
			Created:  in.Time.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: strings.TrimRight("cleanstart-"+in.Builder.Version, "-")}},
		},
		DocumentNamespace: "https://github.com/cleanstart/cleanstart/spdx/" +
			uuid.NewHash(sha1.New(), uuid.NameSpaceURL, []byte(f.manifest+in.Time.Format(time.RFC3339)), 5).String(),
	}
	doc.Packages = append(doc.Packages, &spdx.Package{
		PackageName:               f.name,
		PackageSPDXIdentifier:     rootID,
		PackageVersion:            f.manifest,
		PackageDownloadLocation:   noAssertion,
		IsFilesAnalyzedTagPresent: true,
		PackageChecksums:          []common.Checksum{{Algorithm: common.SHA256, Value: hexOf(f.manifest)}},
		PackageLicenseConcluded:   noAssertion,
		PackageLicenseDeclared:    noAssertion,
		PackageCopyrightText:      noAssertion,
		PrimaryPackagePurpose:     "CONTAINER",
		PackageExternalReferences: spdxPURL(f.purl),
	})
	relate := func(a, verb, b string) {
		doc.Relationships = append(doc.Relationships, &spdx.Relationship{
			RefA: common.MakeDocElementID("", a), RefB: common.MakeDocElementID("", b), Relationship: verb})
	}
	relate("DOCUMENT", common.TypeRelationshipDescribe, rootID)

	ids := map[string]string{}
	for i, c := range f.components {
		ids[c.purl] = fmt.Sprintf("Package-%d-%s", i, spdxIDChars(c.name))
	}
	for i, c := range f.components {
		id := ids[c.purl]
		p := &spdx.Package{
			PackageName:               c.name,
			PackageSPDXIdentifier:     common.ElementID(id),
			PackageVersion:            c.version,
			PackageDownloadLocation:   noAssertion,
			IsFilesAnalyzedTagPresent: true,
			PackageLicenseConcluded:   c.license.Concluded,
			PackageLicenseDeclared:    c.license.Declared,
			PackageLicenseComments:    c.license.Reason,
			PackageCopyrightText:      noAssertion,
			PrimaryPackagePurpose:     "LIBRARY",
			PackageExternalReferences: spdxPURL(c.purl),
			PackageSupplier:           &common.Supplier{SupplierType: "Organization", Supplier: supplier(&c)},
		}
		if c.record != nil {
			if u := c.record.Place.Archive; strings.Contains(u, "://") {
				p.PackageDownloadLocation = u
			} else if u != "" {
				p.PackageSourceInfo = u
			}
			p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: hexOf(c.record.Archive)}}
		}
		if len(c.files) > 0 {
			p.FilesAnalyzed = true
			p.PackageVerificationCode = &common.PackageVerificationCode{Value: verificationCode(c.files)}
			p.PackageLicenseInfoFromFiles = []string{noAssertion}
		}
		doc.Packages = append(doc.Packages, p)
		relate(rootID, common.TypeRelationshipContains, id)
		for j, s := range c.files {
			fid := fmt.Sprintf("File-%d-%d", i, j)
			doc.Files = append(doc.Files, &spdx.File{
				FileName:           "./" + s.path,
				FileSPDXIdentifier: common.ElementID(fid),
				Checksums: []common.Checksum{{Algorithm: common.SHA1, Value: s.sha1},
					{Algorithm: common.SHA256, Value: s.sha256}, {Algorithm: common.SHA512, Value: s.sha512}},
				LicenseConcluded:   c.license.Concluded,
				LicenseInfoInFiles: []string{noAssertion},
				FileCopyrightText:  noAssertion,
			})
			relate(id, common.TypeRelationshipContains, fid)
		}
		for _, n := range c.needs {
			relate(id, common.TypeRelationshipDependsOn, ids[n])
		}
	}
	doc.OtherLicenses = otherLicences(f)
	b, err := marshal(doc)
	if err != nil {
		return nil, err
	}
	return &product{predicate: b}, nil
}

// otherLicences gives every LicenseRef of the document its text.
func otherLicences(f *facts) []*spdx.OtherLicense {
	texts := map[string]string{}
	for _, c := range f.components {
		for _, t := range c.license.Texts {
			for _, m := range t.Matches {
				if strings.HasPrefix(m.ID, "LicenseRef-") && m.Start <= m.End && m.End <= len(t.Text) {
					texts[m.ID] = strings.ToValidUTF8(t.Text[m.Start:m.End], "\uFFFD")
				}
			}
		}
	}
	var names []string
	for id := range texts {
		names = append(names, id)
	}
	slices.Sort(names)
	var out []*spdx.OtherLicense
	for _, id := range names {
		out = append(out, &spdx.OtherLicense{LicenseIdentifier: id, ExtractedText: texts[id], LicenseName: noAssertion})
	}
	return out
}

func spdxPURL(purl string) []*spdx.PackageExternalReference {
	return []*spdx.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl}}
}

// verificationCode is SPDX 2.3 section 7.9: SHA-1 over the sorted SHA-1 of the
// files.
func verificationCode(files []shipped) string {
	var sums []string
	for _, f := range files {
		sums = append(sums, f.sha1)
	}
	slices.Sort(sums)
	sum := sha1.Sum([]byte(strings.Join(sums, "")))
	return hex.EncodeToString(sum[:])
}

func spdxIDChars(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, s)
}

// packagePURL names a toolchain's package, by the kind of toolchain.
func packagePURL(kind, name, version string) string {
	ns := ""
	typ := "generic"
	if kind == "debian" {
		typ, ns = "deb", "debian"
	}
	return packageurl.NewPackageURL(typ, ns, name, version, nil, "").ToString()
}
